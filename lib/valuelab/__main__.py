from valuelab.cli import main

main()
