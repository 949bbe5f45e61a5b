"""The version, under PyTorch's names."""

cuda = None
hip = None
debug = False
git_version = None
