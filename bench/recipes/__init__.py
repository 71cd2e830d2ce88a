"""Training recipes and protocols as data; imports no torch. A new protocol is one file and one line here."""

from bench.recipes import cv_lth, demo, double_win, robust_tickets
from bench.recipes.protocol import Protocol

PROTOCOLS: dict[str, Protocol] = {
    module.PROTOCOL.name: module.PROTOCOL for module in (cv_lth, demo, double_win, robust_tickets)
}
