"""Training recipes and protocols as data; imports no torch. A new protocol is one file and one line here."""

from bench.recipes import bert_demo, bert_lth, cv_lth, demo, double_win, robust_tickets
from bench.recipes.protocol import Protocol

PROTOCOLS: dict[str, Protocol] = {
    module.PROTOCOL.name: module.PROTOCOL for module in (bert_demo, bert_lth, cv_lth, demo, double_win, robust_tickets)
}
