"""The version, under PyTorch's names."""

from ctorch._version import __version__

cuda = None
hip = None
debug = False
git_version = None
