"""From a grid and adapters to an artifact, and all that is done to one that is finished.

Parts, Build -> Manifest, VerifyReport
"""
