"""Package of modules that convert other libraries' models to CoordConv, and record what works and what fails."""
