"""The network: what it is, how it is trained, how good it is.

`skeleton`, `crop` and `contract` need numpy alone and are all that the service imports; everything else needs torch.
"""
