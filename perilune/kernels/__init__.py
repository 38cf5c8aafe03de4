"""Hot loops on plain numbers and addresses: no modules, no files. Each has a plain twin that defines it."""
