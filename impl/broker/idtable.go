package broker

import "encoding/binary"

// idTable tells where the messages with ids are. With millions of ids nearly
// every look is a miss of the processor's caches: a slot is found with one of
// them, a map takes three. The table grows by parts, so that nobody waits for
// all of it. Ids are hashes; the zero id is none.
type idTable struct {
	parts [256]idPart // by the first byte of the id
	count int
}

type idPart struct {
	slots []idSlot // a power of two, or none
	count int
}

type idSlot struct {
	id    digest // zero for a free slot
	place idPlace
}

// home returns where the search for an id begins.
func (p *idPart) home(id *digest) uint64 {
	return binary.LittleEndian.Uint64(id[8:]) & uint64(len(p.slots)-1)
}

// approach has the processor fetch where ids may lie, many at a time: looked up
// one after the other, each of them would wait for the memory. What it returns
// says nothing; it keeps the reads from being left out.
func (t *idTable) approach(ids []digest) (read byte) {
	for i := range ids {
		if p := &t.parts[ids[i][0]]; len(p.slots) > 0 {
			read |= p.slots[p.home(&ids[i])].id[0]
		}
	}
	return read
}

// slot returns the slot of an id, or the free one where it belongs.
func (p *idPart) slot(id digest) *idSlot {
	mask := uint64(len(p.slots) - 1)
	for i := p.home(&id); ; i = (i + 1) & mask {
		if s := &p.slots[i]; s.id == id || s.id == (digest{}) {
			return s
		}
	}
}

func (t *idTable) get(id digest) (idPlace, bool) {
	p := &t.parts[id[0]]
	if p.count == 0 {
		return idPlace{}, false
	}
	s := p.slot(id)
	return s.place, s.id == id
}

func (t *idTable) put(id digest, place idPlace) {
	p := &t.parts[id[0]]
	if p.count >= len(p.slots)/4*3 {
		p.grow()
	}
	s := p.slot(id)
	if s.id != id {
		p.count++
		t.count++
	}
	*s = idSlot{id, place}
}

func (p *idPart) grow() {
	old := p.slots
	p.slots = make([]idSlot, max(8, 2*len(old)))
	for i := range old {
		if s := &old[i]; s.id != (digest{}) {
			*p.slot(s.id) = *s
		}
	}
}
