"""Exports as models of timm: ``import nas.timm``, then ``timm.create_model("local-dir:EXPORT", pretrained=True)``.

The network is built by this project's code from the design in the folder's ``config.json``; ``model.py`` is not run.
"""

from nas.timm.entry_point import nas_network as nas_network
