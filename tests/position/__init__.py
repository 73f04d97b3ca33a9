"""Tests of the measurements and the advice of ``lightning-coordconv advise``."""
