"""The network: what it is, how it is trained, how good it is.

`spec` needs numpy and Pillow alone and is all that the service imports; everything else needs torch.
"""
