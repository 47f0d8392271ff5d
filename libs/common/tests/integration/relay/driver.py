"""A process that drives laps until it is killed: ``python driver.py DATABASE_URL CAR``.

Each transaction writes the lap and its event. A line on standard output says that one was committed.
"""

import asyncio
import sys

from sqlalchemy import text

from common import outbox
from common.db import Database
from common.settings import Settings
from lab.events import SERVICE, LapDriven


async def drive(url: str, car: str) -> None:
    database = Database(Settings(database_url=url), SERVICE)
    number = 0
    while True:
        async with database.transaction() as session:
            await session.execute(
                text("INSERT INTO effects (handler, key, number) VALUES ('lap', :car, :number)"),
                {"car": car, "number": number},
            )
            await outbox.publish(session, LapDriven(car=car, number=number))
        sys.stdout.write("lap\n")
        sys.stdout.flush()
        number += 1


if __name__ == "__main__":
    asyncio.run(drive(sys.argv[1], sys.argv[2]))
