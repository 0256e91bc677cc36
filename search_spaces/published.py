from search_spaces.errors import ArchitectureError
PUBLISHED = {}
def published(name):
    raise ArchitectureError(f"unknown design '{name}'")
