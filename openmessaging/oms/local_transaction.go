package oms

import (
	"context"
	"errors"
	"time"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// rollbackGrace bounds a rollback whose context has ended. Where it does not
// suffice, the producer's checker is asked later.
const rollbackGrace = time.Second

// SendInTransaction prepares m, runs local, and commits the message when local
// returns nil; when it returns an error or panics the message is rolled back
// and the error returned, or the panic goes on. The result's partition and
// offset are -1: the message gets them by the commit.
//
// A failing commit is returned; the local work is done then, and the producer's
// checker will be asked what became of it. Errors besides are those of
// Producer.Prepare.
func SendInTransaction(ctx context.Context, p om.Producer, m *om.Message, local func(context.Context) error) (om.SendResult, error) {
	tx, err := p.Prepare(ctx, m)
	if err != nil {
		return om.SendResult{}, err
	}
	returned := false
	defer func() {
		if !returned {
			_ = rollBack(ctx, tx)
		}
	}()
	err = local(ctx)
	returned = true
	if err != nil {
		return om.SendResult{}, errors.Join(err, rollBack(ctx, tx))
	}
	if err := tx.Commit(ctx); err != nil {
		return om.SendResult{}, err
	}
	return om.SendResult{MessageID: tx.MessageID(), Partition: -1, Offset: -1}, nil
}

func rollBack(ctx context.Context, tx om.Transaction) error {
	if ctx.Err() != nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), rollbackGrace)
		defer cancel()
	}
	return tx.Rollback(ctx)
}
