package allocation

import (
	"cmp"
	"crypto/md5"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
)

// virtualNodes is how often each member is on the ring of ConsistentHash.
const virtualNodes = 128

// rocketMQNodes is how often each consumer is on the ring of RocketMQ.
const rocketMQNodes = 10

// ring holds points of members, ascending.
type ring []point

type point struct {
	at uint64
	id string
}

func newRing(ids []string, nodes int, hash func(string) uint64) ring {
	out := make(ring, 0, len(ids)*nodes)
	for _, id := range ids {
		for i := range nodes {
			out = append(out, point{hash(fmt.Sprintf("%s-%d", id, i)), id})
		}
	}
	slices.SortFunc(out, func(a, b point) int { return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.id, b.id)) })
	return out
}

// from returns the index of the first point at or behind a hash, around the end.
func (r ring) from(hash uint64) int {
	i, _ := slices.BinarySearchFunc(r, hash, func(p point, at uint64) int { return cmp.Compare(p.at, at) })
	return i % len(r)
}

// RocketMQConsistentHash allocates as the strategy CONSISTENT_HASH of Apache
// RocketMQ does with its defaults, for members whose IDs are its client ids:
// ten points for each member, and no bound of the load. The topic is the
// queue's name without its namespace; brokerName is that of RocketMQ's broker.
func RocketMQConsistentHash(brokerName string) Strategy {
	return builtin{"rocketmq-consistent-hash", func(r Request) ([]string, error) {
		points := newRing(idsOf(r), rocketMQNodes, md5Hash)
		topic := r.Queue
		if _, name, found := strings.Cut(topic, "://"); found {
			topic = name
		}
		out := make([]string, r.Partitions)
		for p := range out {
			key := fmt.Sprintf("MessageQueue [topic=%s, brokerName=%s, queueId=%d]", topic, brokerName, p)
			out[p] = points[points.from(md5Hash(key))].id
		}
		return out, nil
	}}
}

func md5Hash(s string) uint64 {
	sum := md5.Sum([]byte(s))
	return uint64(binary.BigEndian.Uint32(sum[:]))
}

func sha256Hash(s string) uint64 {
	sum := sha256.Sum256([]byte(s))
	return binary.BigEndian.Uint64(sum[:])
}

// ConsistentHash places partitions on a ring with 128 points for each member,
// with bounded loads: nobody gets more than 1.25 times the mean, nor more than
// the mean and a tenth of the partitions, each rounded up, nor less than the mean,
// rounded down, as far as there are partitions without an owner. Partitions stay where
// they are within these bounds. When one of n members leaves, or one comes and
// makes n, at most 1/n of the partitions and a tenth of them move. Who comes
// new gets the mean, rounded down.
func ConsistentHash() Strategy {
	return builtin{"consistent-hash", func(r Request) ([]string, error) {
		ids := idsOf(r)
		b := bounded{
			ring: newRing(ids, virtualNodes, sha256Hash), most: mostOf(r.Partitions, len(ids)),
			owners: make([]string, r.Partitions), at: make([]uint64, r.Partitions), load: loads(ids, nil),
		}
		for p := range b.at {
			b.at[p] = sha256Hash(fmt.Sprintf("%s/%d", r.Queue, p))
		}
		b.keep(r.Owners)
		if had := loads(ids, r.Owners); len(b.load) > 1 && len(r.Owners) > 0 {
			for _, id := range ids {
				if had[id] == 0 {
					b.welcome(id)
				}
			}
		}
		b.place()
		return b.owners, nil
	}}
}

// mostOf is the most that one of n members may have.
func mostOf(partitions, n int) int {
	return max((partitions+n-1)/n, min(5*partitions/(4*n), (10*partitions+n*partitions)/(10*n)))
}

// bounded is an allocation in the making.
type bounded struct {
	ring   ring
	most   int
	owners []string // "" for what has no place yet
	at     []uint64 // of the partitions, on the ring
	load   map[string]int
}

func (b *bounded) give(p int, id string) {
	b.owners[p] = id
	b.load[id]++
}

// keep leaves with the members what they had, up to the most: what is nearest to
// them on the ring.
func (b *bounded) keep(owners []string) {
	had := map[string][]int{}
	for p, id := range owners {
		if _, member := b.load[id]; member {
			had[id] = append(had[id], p)
		}
	}
	for id, ps := range had {
		b.nearest(ps, id)
		for _, p := range ps[:min(len(ps), b.most)] {
			b.give(p, id)
		}
	}
}

// welcome gives a new member the mean, rounded down: first of what has no place,
// then of what others have above the mean.
func (b *bounded) welcome(id string) {
	mean := len(b.owners) / len(b.load)
	all := make([]int, len(b.owners))
	for p := range all {
		all[p] = p
	}
	b.nearest(all, id)
	for _, free := range []bool{true, false} {
		for _, p := range all {
			owner := b.owners[p]
			if b.load[id] >= mean || (owner == "") != free || !free && (owner == id || b.load[owner] <= mean) {
				continue
			}
			if !free {
				b.load[owner]--
			}
			b.give(p, id)
		}
	}
}

// place gives what has no place to the next member on the ring that has room,
// but keeps enough for those who have less than the mean, rounded down: else a
// member that comes later could not be given its part by moving few.
func (b *bounded) place() {
	mean, free, missing := len(b.owners)/len(b.load), 0, 0
	for _, id := range b.owners {
		if id == "" {
			free++
		}
	}
	for _, n := range b.load {
		missing += max(0, mean-n)
	}
	for p, id := range b.owners {
		if id != "" {
			continue
		}
		room := b.most
		if free <= missing {
			room = mean
		}
		i := b.ring.from(b.at[p])
		for b.load[b.ring[i].id] >= room {
			i = (i + 1) % len(b.ring)
		}
		if b.load[b.ring[i].id] < mean {
			missing--
		}
		free--
		b.give(p, b.ring[i].id)
	}
}

// nearest sorts partitions by how far along the ring the next point of a member
// is.
func (b *bounded) nearest(ps []int, id string) {
	own := make(ring, 0, virtualNodes)
	for _, p := range b.ring {
		if p.id == id {
			own = append(own, p)
		}
	}
	distance := func(p int) uint64 { return own[own.from(b.at[p])].at - b.at[p] } // around the end by overflow
	slices.SortFunc(ps, func(x, y int) int { return cmp.Or(cmp.Compare(distance(x), distance(y)), cmp.Compare(x, y)) })
}
