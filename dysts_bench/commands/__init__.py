"""The commands of `dysts-bench`, in files by story; dysts_bench/cli.py names them."""
