"""What people see of a run while it runs. Formatting is pure; `screen`, `diversion` and `progress` write.

screen     lines, and on a terminal a status that redraws itself
diversion  what others write to the standard error goes to the run's log
progress   a step's line, its rate and the time left
line       the words of that line
compiles   compilations announced, timed and explained
transfer   long reads and writes
geometry   how a step's samples become updates
memory     where the memory went, and what to change
speed      how much of a device's peak is used
ending     what stands at the end of every run
start      what is noted of every start
"""
