"""Which claims of the paper hold: verdicts that follow from the records of runs."""
