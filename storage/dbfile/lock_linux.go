package dbfile

// setDescriptionLock is F_OFD_SETLK.
const setDescriptionLock = 37
