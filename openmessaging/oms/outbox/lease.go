package outbox

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/openmessaging/openmessaging-go/openmessaging/oms/internal/dialect"
)

// errLost says that another relay publishes, or may.
var errLost = errors.New("the lease is lost")

// lease is the right to publish. It ends by the database's clock; how long it
// is good for at least is measured here from before it was asked for.
type lease struct {
	o      *Outbox
	fence  int64
	length time.Duration

	mu    sync.Mutex
	until time.Time
}

// acquire takes the lease, or returns nil when another relay has it.
func (o *Outbox) acquire(ctx context.Context, length time.Duration) (*lease, error) {
	host, _ := os.Hostname()
	holder := fmt.Sprintf("%.200s %d %s", host, os.Getpid(), rand.Text())
	began := time.Now()
	result, err := o.db.ExecContext(ctx, o.dialect.Bind("UPDATE oms_outbox_relay SET holder = ?, fence = fence + 1, expires_at = "+o.dialect.Now()+" + ? "+
		"WHERE id = 1 AND expires_at <= "+o.dialect.Now()), holder, length.Milliseconds())
	if err != nil {
		return nil, dialect.Failure("lease", "outbox", err)
	}
	if n, err := result.RowsAffected(); err != nil || n == 0 {
		return nil, dialect.Failure("lease", "outbox", err)
	}
	l := &lease{o: o, length: length, until: began.Add(length)}
	err = o.db.QueryRowContext(ctx, o.dialect.Bind("SELECT fence FROM oms_outbox_relay WHERE id = 1 AND holder = ?"), holder).Scan(&l.fence)
	if err != nil { // it ends by itself
		return nil, dialect.Failure("lease", "outbox", err)
	}
	return l, nil
}

// renew makes the lease last from now on. It changes the row in any case, also
// twice in a millisecond, because MySQL counts only rows that change.
func (l *lease) renew(ctx context.Context, q dialect.Querier) error {
	d := l.o.dialect
	began := time.Now()
	result, err := q.ExecContext(ctx, d.Bind("UPDATE oms_outbox_relay SET beats = beats + 1, expires_at = "+d.Now()+" + ? WHERE id = 1 AND fence = ?"),
		l.length.Milliseconds(), l.fence)
	if err != nil {
		return dialect.Failure("lease", "outbox", err)
	}
	n, err := result.RowsAffected()
	if err != nil {
		return dialect.Failure("lease", "outbox", err)
	}
	if n == 0 {
		return errLost
	}
	l.mu.Lock()
	l.until = began.Add(l.length)
	l.mu.Unlock()
	return nil
}

// left returns for how long the lease is good at least.
func (l *lease) left() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return time.Until(l.until)
}

// hold renews the lease until end is called; the context ends when that fails
// for too long.
func (l *lease) hold(ctx context.Context) (held context.Context, end func()) {
	held, cancel := context.WithCancelCause(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-held.Done():
				return
			case <-time.After(l.length / 4):
			}
			try, stop := context.WithTimeout(held, l.left())
			err := l.renew(try, l.o.db)
			stop()
			if errors.Is(err, errLost) || l.left() <= 0 {
				cancel(errLost)
			}
		}
	}()
	return held, func() {
		cancel(context.Canceled)
		<-done
	}
}

// release lets another relay take the lease at once.
func (l *lease) release(ctx context.Context) error {
	_, err := l.o.db.ExecContext(ctx, l.o.dialect.Bind("UPDATE oms_outbox_relay SET expires_at = 0 WHERE id = 1 AND fence = ?"), l.fence)
	return dialect.Failure("lease", "outbox", err)
}
