"""The page, last on the road: a workbench in the browser. Without this folder the server runs as before."""
