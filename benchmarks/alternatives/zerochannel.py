# SPDX-License-Identifier: MIT
"""zerochannel: one writer that never waits, and readers that lose what they do not get in time."""

from __future__ import annotations

from importlib import metadata

from adapter import END_MARK, Kind, Plan, Receiver, Sender, WrongPayloadError, end_of, wrong

NAME = "zerochannel"
FIXED = True
SENDER_FIRST = True
USES: dict[Kind, str] = {
    "busy": "write / read, polled; lossy",
    "loan": "write, which is one copy / try_acquire and its payload; lossy, and what is torn is "
    "counted",
}


def version() -> str:
    return metadata.version("zerochannel")


def receiver(plan: Plan) -> Receiver:
    from zerochannel import BytesReader

    end = BytesReader("/" + plan.name, enable_zero_copy=plan.kind == "loan")
    read = end.read

    def get() -> bytes | None:
        entry = read()
        return None if entry is None else entry[1]

    def receive(records: list[bytes], count: int) -> int:
        number_of = {record: number for number, record in enumerate(records)}
        last = end_of(len(records[0]))
        came = at = 0
        while True:
            for expected in records[at:]:
                while (entry := read()) is None:
                    pass
                if entry[1] != expected:
                    break
            else:
                came += len(records) - at
                at = 0
                continue
            came += number_of[expected] - at
            if entry[1] == last:
                return came
            if entry[1] not in number_of:
                raise WrongPayloadError(wrong(expected, entry[1]))
            came += 1
            at = (number_of[entry[1]] + 1) % len(records)

    def receive_loans(nbytes: int, marks: int, count: int) -> int:
        acquire = end.try_acquire
        came = 0
        while True:
            while (handle := acquire()) is None:
                pass
            with handle.payload as view:
                mark = view[0]
                torn = view[-1] != mark or len(view) != nbytes
            handle.release()
            if torn:
                made.torn += 1
            elif mark == END_MARK:
                return came
            else:
                came += 1

    made = Receiver(get, polls=True, receive=receive, receive_loans=receive_loans, lossy=True)
    return made


def sender(plan: Plan) -> Sender:
    from zerochannel import BytesWriter

    end = BytesWriter("/" + plan.name, entry_length=plan.nbytes, entry_count=plan.records)
    return Sender(end.write)
