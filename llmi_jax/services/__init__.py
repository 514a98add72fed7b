"""Calling what can fail and keeping what it said.

faults      what goes wrong with a service, by name
limits      concurrency, calls per minute, deadlines
retry       one layer of retries, with a budget
breaker     leaving alone what keeps failing
sharing     equal work in flight is done once
http        calls that end
addresses   which addresses may be called, and pinning them
download    files from addresses that somebody else chose
chat        asks chat models: judges, selectors, remote policies
completion  a chat completion and its form in the OpenAI protocol
images      the one place that decodes pictures
cache       successful replies, by content
journal     every reply of a run, by place
"""
