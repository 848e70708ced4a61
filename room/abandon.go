package room

// A part of the commit log that is lost for good. Until somebody gives it up, each room that may have
// had its newest transactions there is refused, and each new one too, because nobody can say that it is new.

// LostLog returns the names of the files of the commit log that are missing, or damaged so that it is not
// known which rooms they were of, and that rooms may need. None: nil.
func (h *Host) LostLog() []string {
	if h.log == nil {
		return nil
	}
	return h.log.Lost()
}

// AbandonLog gives up what the files of LostLog had, and returns their names. The rooms that were refused
// because of them go on with what they have from then on: what was acknowledged to a room, and was only
// there, is lost. It is remembered over restarts. After storage.ErrFull or storage.ErrIO it can be
// called again.
func (h *Host) AbandonLog() (files []string, err error) {
	if h.log == nil {
		return nil, nil
	}
	return h.log.Abandon()
}

// warnOfLostLog tells the operator which rooms cannot be used, once a start.
func (h *Host) warnOfLostLog() {
	if files := h.LostLog(); len(files) > 0 {
		h.opts.Logger.Error("files of the commit log are missing or damaged: rooms that may have had something there are refused, and new rooms too if a crash left the file",
			"files", files, "hint", "put them back; or, while no server runs, give them up: den log -data "+h.opts.Dir+" -abandon")
	}
}
