"""Where images come from: the embedded digits, a folder of images, or a data set that timm knows."""
