package segment

// Repair of single flipped bits. The two checksums of a record tell which bit it is: the CRC-32C changes in a
// different way for each bit of up to 256 MiB, and the CRC-32 has to agree. That two flipped bits look like another
// one is as unlikely as 64 bits that fit by chance.

import (
	"hash/crc32"
	"math/bits"
)

// flip is a bit of a file that has to be changed.
type flip struct {
	at   int64
	mask byte
	// maybeTorn: the bit is the only one that was set in a sector or at the end of a record. So it may be
	// that these never came, after a power cut.
	maybeTorn bool
}

// apply changes the bit in b, which lies at an offset.
func (f flip) apply(b []byte, offset int64) {
	if f.at >= offset && f.at < offset+int64(len(b)) {
		b[f.at-offset] ^= f.mask
	}
}

// repair finds the single bit that is wrong in the record at an offset, and returns the header of the repaired
// record. It reads nothing after limit.
func (s *reader) repair(at, limit int64) (Record, flip, bool, error) {
	if at+recordHeader+recordTrailer > limit {
		return Record{}, flip{}, false, nil
	}
	b, err := s.bytes(at, recordHeader, forwards)
	if err != nil {
		return Record{}, flip{}, false, err
	}
	h := [recordHeader]byte(b)
	if r, ok := parseHeader(h[:], s.salt); ok {
		if at+int64(r.Size()) > limit {
			return r, flip{}, false, nil
		}
		f, ok, err := s.repairBody(at, &r)
		return r, f, ok, err
	}
	if h == [recordHeader]byte{} { // zeros written ahead
		return Record{}, flip{}, false, nil
	}
	for bit := range recordHeader * 8 {
		i, mask := bit/8, byte(1)<<(bit%8)
		h[i] ^= mask
		r, ok := parseHeader(h[:], s.salt)
		h[i] ^= mask
		if !ok || at+int64(r.Size()) > limit {
			continue
		}
		crc, cross, err := s.checksums(at, &r)
		if err != nil {
			return Record{}, flip{}, false, err
		}
		n := r.Size() - recordTrailer - i
		if r.CRC == crc^checksumEffect(crc32.Castagnoli, n, mask) && r.ieee == cross^checksumEffect(crc32.IEEE, n, mask) {
			return r, flip{at: at + int64(i), mask: mask}, true, nil
		}
	}
	return Record{}, flip{}, false, nil
}

// repairBody finds the bit if the header is good.
func (s *reader) repairBody(at int64, r *Record) (flip, bool, error) {
	crc, cross, err := s.checksums(at, r)
	if err != nil {
		return flip{}, false, err
	}
	body, end := r.Size()-recordTrailer, at+int64(r.Size())
	wrong, alsoWrong := crc^r.CRC, cross^r.ieee
	f := flip{}
	if wrong == 0 || alsoWrong == 0 { // a bit of the trailer, or none
		if bits.OnesCount32(wrong)+bits.OnesCount32(alsoWrong) != 1 {
			return f, false, nil
		}
		bit := bits.TrailingZeros64(uint64(alsoWrong)<<32 | uint64(wrong))
		f.at, f.mask = at+int64(body+bit/8), 1<<(bit%8)
		f.maybeTorn, err = s.onlyZeros(f.at, end)
		r.CRC, r.ieee = crc, cross
		return f, true, err
	}
	i, mask, ok := findFlip(body, wrong)
	if !ok || checksumEffect(crc32.IEEE, body-i, mask) != alsoWrong {
		return f, false, nil
	}
	f.at, f.mask = at+int64(i), mask
	first := f.at / sector * sector
	missingSector, err := s.onlyZeros(max(first, at), min(first+sector, at+int64(body)))
	if err == nil && !missingSector {
		missingSector, err = s.onlyZeros(f.at, end)
	}
	f.maybeTorn = missingSector
	return f, true, err
}

// onlyZeros reports whether there are only zeros from one offset to another.
func (s *reader) onlyZeros(from, to int64) (bool, error) {
	for from < to {
		b, err := s.bytes(from, int(min(to-from, sector)), forwards)
		if err != nil {
			return false, err
		}
		for _, c := range b {
			if c != 0 {
				return false, nil
			}
		}
		from += int64(len(b))
	}
	return true, nil
}

// checksumEffect returns how a checksum changes with a bit in the n-th byte from the end, counted from 1.
func checksumEffect(polynomial uint32, n int, mask byte) uint32 {
	table := crc32.MakeTable(polynomial)
	e := table[mask]
	for range n - 1 {
		e = table[byte(e)] ^ e>>8
	}
	return e
}

// findFlip finds the bit in n bytes that changes their CRC-32C by wrong.
func findFlip(n int, wrong uint32) (at int, mask byte, ok bool) {
	table := crc32.MakeTable(crc32.Castagnoli)
	var effect [8]uint32
	for bit := range effect {
		effect[bit] = table[1<<bit]
	}
	for at = n - 1; at >= 0; at-- {
		for bit, e := range effect {
			if e == wrong {
				return at, 1 << bit, true
			}
			effect[bit] = table[byte(e)] ^ e>>8
		}
	}
	return 0, 0, false
}
