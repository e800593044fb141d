"""The checks of each lesson's exercises, one module a lesson; 90 is the toolchain's own demonstration."""
