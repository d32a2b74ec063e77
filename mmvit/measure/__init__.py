"""How good results are: matching of found and annotated objects, average precision, kinds of errors."""
