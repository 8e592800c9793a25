"""Whole processes under a simulated scheduler: time, order, faults and crashes are drawn from one seed."""
