"""Kubernetes' files, and `python -m deploy.kubernetes`, which writes those that follow from the stack's."""
