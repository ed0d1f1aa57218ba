from bigearthnet.dataset.card import parse_card
from bigearthnet.dataset.report import Effort, summary
from tests.support.cards import card, files


def test_the_summary_says_what_the_run_took_in_cpu_credits_of_a_t2_micro() -> None:
    line = summary(parse_card(card(files()), "a test"), "/data/dataset", Effort(200.0, 90.0, 3))
    assert "90.0 s of CPU (1.50 CPU credits of a t2.micro)" in line
