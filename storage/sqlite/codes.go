package sqlite

// SQLite's numbers, as far as they are used. sqlite.org/c3ref/constlist.html explains them.

import sqlite3 "modernc.org/sqlite/lib"

// OpenFlags, Config, Limit, FileControl, CheckpointMode, PrepareFlags and OpType are numbers of SQLite's C
// API. The last is an operation of an Action or a row's change.
type (
	OpenFlags      int32
	Config         int32
	Limit          int32
	FileControl    int32
	CheckpointMode int32
	PrepareFlags   uint32
	OpType         int32
)

// Result codes: the primary ones, then extended ones.
const (
	ResultOK         ResultCode = sqlite3.SQLITE_OK
	ResultError      ResultCode = sqlite3.SQLITE_ERROR
	ResultInternal   ResultCode = sqlite3.SQLITE_INTERNAL
	ResultPerm       ResultCode = sqlite3.SQLITE_PERM
	ResultBusy       ResultCode = sqlite3.SQLITE_BUSY
	ResultLocked     ResultCode = sqlite3.SQLITE_LOCKED
	ResultNoMem      ResultCode = sqlite3.SQLITE_NOMEM
	ResultReadOnly   ResultCode = sqlite3.SQLITE_READONLY
	ResultInterrupt  ResultCode = sqlite3.SQLITE_INTERRUPT
	ResultIOErr      ResultCode = sqlite3.SQLITE_IOERR
	ResultCorrupt    ResultCode = sqlite3.SQLITE_CORRUPT
	ResultFull       ResultCode = sqlite3.SQLITE_FULL
	ResultCantOpen   ResultCode = sqlite3.SQLITE_CANTOPEN
	ResultSchema     ResultCode = sqlite3.SQLITE_SCHEMA
	ResultTooBig     ResultCode = sqlite3.SQLITE_TOOBIG
	ResultConstraint ResultCode = sqlite3.SQLITE_CONSTRAINT
	ResultMismatch   ResultCode = sqlite3.SQLITE_MISMATCH
	ResultMisuse     ResultCode = sqlite3.SQLITE_MISUSE
	ResultAuth       ResultCode = sqlite3.SQLITE_AUTH
	ResultFormat     ResultCode = sqlite3.SQLITE_FORMAT
	ResultNotADB     ResultCode = sqlite3.SQLITE_NOTADB

	ResultIOErrWrite           ResultCode = sqlite3.SQLITE_IOERR_WRITE
	ResultConstraintForeignKey ResultCode = sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY
	ResultConstraintNotNull    ResultCode = sqlite3.SQLITE_CONSTRAINT_NOTNULL
)

// What OpenConn, Conn.SetConfig (0 or 1), Conn.SetLimit, Conn.FileControl, Conn.Checkpoint and Conn.Prepare take.
const (
	OpenReadOnly  OpenFlags = sqlite3.SQLITE_OPEN_READONLY
	OpenReadWrite OpenFlags = sqlite3.SQLITE_OPEN_READWRITE
	OpenCreate    OpenFlags = sqlite3.SQLITE_OPEN_CREATE

	ConfigDefensive         Config = sqlite3.SQLITE_DBCONFIG_DEFENSIVE
	ConfigDQSDDL            Config = sqlite3.SQLITE_DBCONFIG_DQS_DDL
	ConfigDQSDML            Config = sqlite3.SQLITE_DBCONFIG_DQS_DML
	ConfigEnableForeignKeys Config = sqlite3.SQLITE_DBCONFIG_ENABLE_FKEY
	ConfigNoCheckpoint      Config = sqlite3.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE

	LimitLength   Limit = sqlite3.SQLITE_LIMIT_LENGTH // bytes of a value or a row
	LimitAttached Limit = sqlite3.SQLITE_LIMIT_ATTACHED

	FileControlFile    FileControl = sqlite3.SQLITE_FCNTL_FILE_POINTER    // sqlite3_file of the database
	FileControlJournal FileControl = sqlite3.SQLITE_FCNTL_JOURNAL_POINTER // sqlite3_file of its journal or WAL

	CheckpointPassive  CheckpointMode = sqlite3.SQLITE_CHECKPOINT_PASSIVE
	CheckpointTruncate CheckpointMode = sqlite3.SQLITE_CHECKPOINT_TRUNCATE

	PreparePersistent PrepareFlags = sqlite3.SQLITE_PREPARE_PERSISTENT // the statement is kept for long
)

// Operations.
const (
	OpInsert            OpType = sqlite3.SQLITE_INSERT
	OpUpdate            OpType = sqlite3.SQLITE_UPDATE
	OpDelete            OpType = sqlite3.SQLITE_DELETE
	OpTransaction       OpType = sqlite3.SQLITE_TRANSACTION
	OpSavepoint         OpType = sqlite3.SQLITE_SAVEPOINT
	OpAttach            OpType = sqlite3.SQLITE_ATTACH
	OpDetach            OpType = sqlite3.SQLITE_DETACH
	OpPragma            OpType = sqlite3.SQLITE_PRAGMA
	OpFunction          OpType = sqlite3.SQLITE_FUNCTION
	OpReindex           OpType = sqlite3.SQLITE_REINDEX
	OpAlterTable        OpType = sqlite3.SQLITE_ALTER_TABLE
	OpCreateTable       OpType = sqlite3.SQLITE_CREATE_TABLE
	OpCreateIndex       OpType = sqlite3.SQLITE_CREATE_INDEX
	OpCreateTrigger     OpType = sqlite3.SQLITE_CREATE_TRIGGER
	OpCreateView        OpType = sqlite3.SQLITE_CREATE_VIEW
	OpCreateVTable      OpType = sqlite3.SQLITE_CREATE_VTABLE
	OpCreateTempTable   OpType = sqlite3.SQLITE_CREATE_TEMP_TABLE
	OpCreateTempIndex   OpType = sqlite3.SQLITE_CREATE_TEMP_INDEX
	OpCreateTempTrigger OpType = sqlite3.SQLITE_CREATE_TEMP_TRIGGER
	OpCreateTempView    OpType = sqlite3.SQLITE_CREATE_TEMP_VIEW
	OpDropTable         OpType = sqlite3.SQLITE_DROP_TABLE
	OpDropIndex         OpType = sqlite3.SQLITE_DROP_INDEX
	OpDropTrigger       OpType = sqlite3.SQLITE_DROP_TRIGGER
	OpDropView          OpType = sqlite3.SQLITE_DROP_VIEW
	OpDropVTable        OpType = sqlite3.SQLITE_DROP_VTABLE
)
