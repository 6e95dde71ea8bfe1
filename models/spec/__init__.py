"""What a model is, in numpy and Pillow alone: all of models/ that the service imports."""
