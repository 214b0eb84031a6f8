"""Graph passes, one per file, in the order in which ``emit`` runs them.

graph -> the same graph, changed

A pass changes one ``onnx_ir`` graph in place and says whether it did; it reads no file and no option it is not handed.
"""
