package dbfile

import sqlite3 "modernc.org/sqlite/lib"

// hostTraits are those that SQLite's own VFS for Windows gives its files.
const hostTraits Traits = sqlite3.SQLITE_IOCAP_POWERSAFE_OVERWRITE | sqlite3.SQLITE_IOCAP_SUBPAGE_READ | sqlite3.SQLITE_IOCAP_UNDELETABLE_WHEN_OPEN
