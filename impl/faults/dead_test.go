package faults_test

import (
	"context"
	"errors"
	"fmt"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi"
)

// verifyDead checks the dead-letter queue of a group, which gets what was
// delivered too often: each message once, and none that was delivered now or
// acknowledged. It adds them to delivered.
func (l *ledger) verifyDead(ctx context.Context, c spi.Conn, group, queue uint16, delivered map[target]map[int64]bool) error {
	name := om.DeadLetterQueue(loadQueues[queue].Name, loadGroups[group])
	for next := int64(0); ; {
		ds, err := optional[spi.Streamer](c).ReadAt(ctx, name, 0, next, 1000)
		if errors.Is(err, om.CodeDestinationNotFound) || err == nil && len(ds) == 0 {
			return nil
		}
		if err != nil {
			return err
		}
		for _, d := range ds {
			next = d.Offset + 1
			p := d.Message.Properties
			at := target{queue, uint16(p.GetInt64(om.PropertyDeadPartition, -1))}
			offset := p.GetInt64(om.PropertyDeadOffset, -1)
			t, err := parseBody(d.Message.Body)
			stored, known := l.stored[at][offset]
			switch {
			case err != nil || known && stored != t:
				return fmt.Errorf("dead letter %d is %+v, %w; it was %+v", d.Offset, t, err, stored)
			case delivered[at][offset]:
				return fmt.Errorf("partition %d, offset %d is dead twice, or dead and delivered", at.partition, offset)
			case l.settling[share{group, at}][offset]:
				return fmt.Errorf("partition %d, offset %d was acknowledged and is dead", at.partition, offset)
			}
			if delivered[at] == nil {
				delivered[at] = make(map[int64]bool)
			}
			delivered[at][offset] = true
		}
	}
}
