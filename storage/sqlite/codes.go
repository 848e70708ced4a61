package sqlite

// SQLite's numbers, as far as they are used.

import sqlite3 "modernc.org/sqlite/lib"

// Primary result codes.
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
)

// Extended result codes.
const (
	ResultConstraintForeignKey ResultCode = sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY
	ResultConstraintNotNull    ResultCode = sqlite3.SQLITE_CONSTRAINT_NOTNULL
)

// OpenFlags are flags of sqlite3_open_v2.
type OpenFlags int32

// The flags of OpenConn. A Conn has extended result codes and no mutex.
const (
	OpenReadOnly  OpenFlags = sqlite3.SQLITE_OPEN_READONLY
	OpenReadWrite OpenFlags = sqlite3.SQLITE_OPEN_READWRITE
	OpenCreate    OpenFlags = sqlite3.SQLITE_OPEN_CREATE
)

// Config is an option of sqlite3_db_config.
type Config int32

// The options of Conn.SetConfig; each is 0 or 1.
const (
	ConfigDefensive         Config = sqlite3.SQLITE_DBCONFIG_DEFENSIVE
	ConfigDQSDDL            Config = sqlite3.SQLITE_DBCONFIG_DQS_DDL
	ConfigDQSDML            Config = sqlite3.SQLITE_DBCONFIG_DQS_DML
	ConfigEnableForeignKeys Config = sqlite3.SQLITE_DBCONFIG_ENABLE_FKEY
	ConfigNoCheckpoint      Config = sqlite3.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE
)

// Limit is a limit of sqlite3_limit.
type Limit int32

// The limits of Conn.SetLimit.
const (
	LimitLength   Limit = sqlite3.SQLITE_LIMIT_LENGTH // bytes of a value or a row
	LimitAttached Limit = sqlite3.SQLITE_LIMIT_ATTACHED
)

// FileControl is an operation of sqlite3_file_control.
type FileControl int32

// The operations of Conn.FileControl.
const (
	FileControlFile    FileControl = sqlite3.SQLITE_FCNTL_FILE_POINTER    // sqlite3_file of the database
	FileControlJournal FileControl = sqlite3.SQLITE_FCNTL_JOURNAL_POINTER // sqlite3_file of its journal or WAL
	FileControlVFS     FileControl = sqlite3.SQLITE_FCNTL_VFS_POINTER     // sqlite3_vfs
)

// CheckpointMode is a mode of sqlite3_wal_checkpoint_v2.
type CheckpointMode int32

// The modes of Conn.Checkpoint.
const (
	CheckpointPassive  CheckpointMode = sqlite3.SQLITE_CHECKPOINT_PASSIVE
	CheckpointTruncate CheckpointMode = sqlite3.SQLITE_CHECKPOINT_TRUNCATE
)

// PrepareFlags are flags of sqlite3_prepare_v3.
type PrepareFlags uint32

// PreparePersistent says that a statement is to be kept for long.
const PreparePersistent PrepareFlags = sqlite3.SQLITE_PREPARE_PERSISTENT
