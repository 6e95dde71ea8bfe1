"""Fully convolutional networks from pictures to feature maps."""
