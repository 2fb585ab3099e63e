"""Answers of the API server on a clock that the test moves, and the questions that they save."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from peerwatch.kubernetes.errors import ServerError

from collector.access import reviews
from collector.access.answers import Answers, AwayError, BusyError, Freshness
from collector.access.budget import Budget
from collector.access.callers import Identity, Permission, RefusedCallError
from collector.access.reviews import ApiReviewer, Reviews

ALICE = Identity("alice", "7", ("staff",), (("scopes", ("a", "b")),))


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Server:
    """Answers from a list; an exception is raised."""

    def __init__(self, *answers: object) -> None:
        self.answers = list(answers)
        self.asked = 0

    def __call__(self) -> str:
        self.asked += 1
        answer: Any = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def run(body: Callable[[ThreadPoolExecutor], Awaitable[None]]) -> None:
    with ThreadPoolExecutor(4) as threads:
        asyncio.run(asyncio.wait_for(body(threads), 30))


def test_an_answer_is_asked_for_once_while_it_is_fresh() -> None:
    async def body(threads: ThreadPoolExecutor) -> None:
        clock, server = Clock(), Server("yes", None, "yes")
        answers: Answers[str] = Answers(Freshness(60, 10, 600), threads, clock=clock)
        heard = []
        for passed in (0, 59, 1, 9, 1):
            clock.now += passed
            heard.append(await answers.get("q", server, before=lambda: None))
        assert (heard, server.asked) == (["yes", "yes", None, None, "yes"], 3)

    run(body)


def test_a_good_answer_stands_in_for_a_server_that_is_away_but_not_for_ever() -> None:
    async def body(threads: ThreadPoolExecutor) -> None:
        clock, server = Clock(), Server("yes", *[AwayError("away")] * 5)
        answers: Answers[str] = Answers(Freshness(60, 10, 600, retry_s=200), threads, clock=clock)
        for passed in (0, 60, 199, 1, 339):
            clock.now += passed
            assert await answers.get("q", server, before=lambda: None) == "yes"
        asked = server.asked
        clock.now += 2
        with pytest.raises(AwayError):
            await answers.get("q", server, before=lambda: None)
        assert (asked, server.asked) == (4, 5)

    run(body)


def test_nothing_stands_in_for_a_refusal() -> None:
    async def body(threads: ThreadPoolExecutor) -> None:
        clock, server = Clock(), Server("yes", None, AwayError("away"))
        answers: Answers[str] = Answers(Freshness(60, 10, 600), threads, clock=clock)
        assert await answers.get("q", server, before=lambda: None) == "yes"
        clock.now += 60
        assert await answers.get("q", server, before=lambda: None) is None
        clock.now += 10
        with pytest.raises(AwayError):
            await answers.get("q", server, before=lambda: None)

    run(body)


def test_the_same_question_is_not_asked_twice_at_a_time_and_outlives_who_asked_first() -> None:
    async def body(threads: ThreadPoolExecutor) -> None:
        asked, go = threading.Semaphore(0), threading.Event()

        def question() -> str:
            asked.release()
            assert go.wait(20)
            return "yes"

        answers: Answers[str] = Answers(Freshness(60, 10, 600), threads)
        first, second = (asyncio.create_task(answers.get("q", question, before=lambda: None)) for _ in range(2))
        await asyncio.to_thread(asked.acquire)
        first.cancel()
        go.set()
        assert await second == "yes"
        assert not asked.acquire(blocking=False)

    run(body)


def test_questions_that_wait_are_bounded() -> None:
    async def body(threads: ThreadPoolExecutor) -> None:
        go = threading.Event()
        answers: Answers[bool] = Answers(Freshness(60, 10, 600), threads, asking_max=3)
        waiting = [asyncio.create_task(answers.get(number, lambda: go.wait(20), before=lambda: None)) for number in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(BusyError):
            await answers.get(3, lambda: True, before=lambda: None)
        go.set()
        assert await asyncio.gather(*waiting) == [True] * 3
        assert await answers.get(3, lambda: True, before=lambda: None)

    run(body)


def test_what_is_remembered_is_bounded_and_the_one_unused_longest_goes() -> None:
    async def body(threads: ThreadPoolExecutor) -> None:
        server = Server(*"123456789")
        answers: Answers[str] = Answers(Freshness(60, 10, 600), threads, kept_max=2)
        for key in ("a", "b", "a", "c", "a", "b"):
            await answers.get(key, server, before=lambda: None)
        assert server.asked == 4

    run(body)


def test_who_guesses_uses_up_their_own_share_only() -> None:
    budget = Budget(burst=3, per_s=0.5, addresses_max=2)

    assert [budget.take("a", 0.0) for _ in range(4)] == [True, True, True, False]
    assert budget.take("b", 0.0)
    assert [budget.take("a", at) for at in (1.9, 2.1, 2.2)] == [False, True, False]
    assert [budget.take("c", 3.0), budget.take("a", 3.0)] == [True, False]


class Fake:
    """Stands for an API server."""

    def __init__(self, *answers: object) -> None:
        self.answers = list(answers)
        self.requests: list[tuple[str, str, Any]] = []

    def request(self, method: str, path: str, *, body: object = None, timeout_s: float = 0) -> object:
        assert timeout_s
        self.requests.append((method, path, body))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def review(**status: object) -> dict[str, object]:
    return {"status": {"authenticated": True, "audiences": ["here"], "user": {"username": "alice"}} | status}


@pytest.mark.parametrize(
    "status",
    [
        {"authenticated": False},
        {"authenticated": "yes"},
        {"audiences": ["elsewhere"]},
        {"audiences": None},
        {"user": {}},
        {"user": None},
    ],
)
def test_only_a_review_that_says_yes_for_this_audience_is_one(status: dict[str, object]) -> None:
    fake: Any = Fake(review(**status))

    assert ApiReviewer(fake).review("t", "here") is None


def test_what_a_review_says_of_a_user_goes_with_each_question_about_their_rights() -> None:
    user = {"username": "alice", "uid": "7", "groups": ["staff"], "extra": {"scopes": ["a", "b"]}}
    fake: Any = Fake(review(user=user), {"status": {"allowed": True}}, {"status": {"denied": True}}, {})
    reviewer = ApiReviewer(fake)
    found = reviewer.review("t", "here")
    may = Permission("get", "incidents", "shop")

    assert found == ALICE
    assert [reviewer.allows(ALICE, may) for _ in range(3)] == [True, False, False]
    method, path, body = fake.requests[1]
    assert (method, path) == ("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews")
    spec = body["spec"]
    assert (spec["user"], spec["uid"], spec["groups"], spec["extra"]) == ("alice", "7", ["staff"], {"scopes": ["a", "b"]})
    assert spec["resourceAttributes"] == {
        "group": "peerwatch.dev",
        "resource": "incidents",
        "verb": "get",
        "namespace": "shop",
    }


@pytest.mark.parametrize("status", [0, 401, 403, 429, 500, 503])
def test_an_api_server_that_does_not_answer_is_away_and_its_words_are_not_repeated(
    status: int, caplog: pytest.LogCaptureFixture
) -> None:
    async def body(threads: ThreadPoolExecutor) -> None:
        fake: Any = Fake(*[ServerError("it said: secret-token", status=status)] * 2)
        known = Reviews(ApiReviewer(fake), threads, clock=Clock())
        for _ in range(2):
            with pytest.raises(RefusedCallError) as raised:
                await known.identify("secret-token", "here", "ipv4:10.0.0.1")
            assert (raised.value.reason, raised.value.code) == ("reviews_unavailable", grpc.StatusCode.UNAVAILABLE)
            assert "secret-token" not in str(raised.value)

    run(body)
    assert len(caplog.records) == 1  # once a minute
    assert "secret-token" not in caplog.text


def test_a_token_that_the_api_server_finds_impossible_is_refused() -> None:
    async def body(threads: ThreadPoolExecutor) -> None:
        fake: Any = Fake(ServerError("too long", status=422))
        with pytest.raises(RefusedCallError) as raised:
            await Reviews(ApiReviewer(fake), threads).identify("t", "here", "ipv4:10.0.0.1")
        assert raised.value.reason == "token_refused"

    run(body)


def test_an_address_that_tries_many_tokens_is_told_to_wait_and_others_are_not() -> None:
    async def body(threads: ThreadPoolExecutor) -> None:
        fake: Any = Fake(*[review(authenticated=False)] * 50, review())
        known = Reviews(ApiReviewer(fake), threads, clock=Clock())
        reasons = []
        for number in range(50):
            with pytest.raises(RefusedCallError) as raised:
                await known.identify(f"t{number}", "here", "ipv4:10.0.0.1")
            reasons.append(raised.value.reason)
        tried = int(reviews.BURST)
        assert reasons == ["token_refused"] * tried + ["too_many_tokens"] * (50 - tried)
        fake.answers = [review()]
        assert (await known.identify("good", "here", "ipv4:10.0.0.2")).name == "alice"

    run(body)
