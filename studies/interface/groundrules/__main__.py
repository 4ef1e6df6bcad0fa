"""`python -m groundrules`: the command line."""

from groundrules import main

main()
