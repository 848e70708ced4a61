package segment

// An index against what it says of itself.

import "slices"

// CheckIndex adds the places that an index has to said, and returns what is wrong with it, for an operator; "": nothing.
// scan is one of the same file, and tail is where the segment's records end.
func (s *File) CheckIndex(scan *Scan, x *Index, tail int64, listed map[Key]Place) string {
	kind := uint32(footerBlock)
	if int64(x.Offset) < tail {
		kind = 0
	}
	size, err := scan.indexAt(int64(x.Offset), max(s.Size, tail), kind)
	filterBytes := filterSize(int(x.Rooms))
	if want := int64(x.Blocks()*blockHeader) + int64(x.Rooms)*indexEntry + int64(filterHeader+filterBytes); err != nil || size != want {
		return "an index is damaged"
	}
	b, err := scan.bytes(int64(x.Offset)+size-int64(filterBytes), filterBytes, forwards)
	if err != nil {
		return "an index is damaged"
	}
	filter := Filter(slices.Clone(b))
	for i := range x.Blocks() {
		b, err := s.readBlock(scan.f, x, i)
		if err != nil {
			return "an index is damaged"
		}
		for ; len(b) > 0; b = b[indexEntry:] {
			p := parsePlace(b)
			if listed[p.Key] = p; !filter.Has(p.Key) {
				return "the filter of an index does not let a room of it pass"
			}
		}
	}
	return ""
}
