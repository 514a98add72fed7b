"""What a run asks of chips, told before there are any.

hardware  what chips hold and how fast they are
topology  devices of a named slice, or of this host
hlo       compiled text → memory traffic and collectives, loops counted
flops     traced programs → floating-point operations, loops counted
account   programs of a run → memory by kind, time by kind
"""
