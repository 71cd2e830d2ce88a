"""Training recipes and protocols as data; imports no torch. A new protocol is one file and one line here."""

from bench.recipes import demo, double_win, robust_tickets
from bench.recipes.protocol import Protocol

PROTOCOLS: dict[str, Protocol] = {
    protocol.name: protocol for protocol in (demo.PROTOCOL, double_win.PROTOCOL, robust_tickets.PROTOCOL)
}
