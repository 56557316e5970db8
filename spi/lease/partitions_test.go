package lease_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openmessaging/openmessaging-go/spi/lease"
)

func TestTurns(t *testing.T) {
	errAsk := errors.New("ask")
	for _, c := range []struct {
		n, limit, comes int // with which question messages come
		fail            error
		want            string
	}{
		{1, 5, 1, nil, "[0]:5 [0]:5 "},
		{3, 2, 9, nil, "[0 1]:2/2 [2]:2 wait[0 1 2]:2 [0 1]:2/2 [2]:2 wait[0 1 2]:2 "},
		{3, 1, 2, nil, "[0]:1 [1]:1 [2]:1 [0]:1 "},
		{2, 7, 9, nil, "[0 1]:7/2 wait[0 1]:7 [0 1]:7/2 wait[0 1]:7 "},
		{2, 1, 9, errAsk, "[0]:1 [1]:1 "},
	} {
		var turns lease.Turns
		asked := ""
		for range 2 {
			k := 0
			err := turns.Fetch(c.n, c.limit, func(ps []int, limit int, wait bool) (bool, error) {
				k++
				what, share := "", ""
				if wait {
					what = "wait"
				} else if len(ps) > 1 {
					share = fmt.Sprintf("/%d", len(ps))
				}
				if want := c.limit / len(ps); !wait && limit != want || wait && limit != c.limit {
					t.Errorf("%d messages of each of %v", limit, ps)
				}
				asked += fmt.Sprintf("%s%v:%d%s ", what, ps, c.limit, share)
				return k == c.comes, c.fail
			})
			if err != c.fail {
				t.Error(err)
			}
		}
		if asked != c.want {
			t.Errorf("%d partitions, limit %d: %s", c.n, c.limit, asked)
		}
	}
}

func TestRound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		errGone := errors.New("gone")
		for name, c := range map[string]struct {
			wait       bool
			came       func(r *lease.Round)
			some, done bool
			err        error
		}{
			"all full":        {came: func(r *lease.Round) { r.Came(0, 1, nil); r.Came(0, 1, nil); r.Came(4, 2, nil); r.Came(4, 1, nil) }, some: true, done: true},
			"all empty":       {came: func(r *lease.Round) { r.Came(0, 0, nil); r.Came(4, 0, nil) }, done: true},
			"one is missing":  {came: func(r *lease.Round) { r.Came(0, 2, nil) }, some: true, err: context.DeadlineExceeded},
			"one is enough":   {wait: true, came: func(r *lease.Round) { r.Came(4, 1, nil); r.Came(4, 1, nil) }, some: true},
			"one fails":       {came: func(r *lease.Round) { r.Came(4, 0, errGone); r.Came(0, 0, errors.New("later")) }, done: true, err: errGone},
			"nothing happens": {wait: true, came: func(*lease.Round) {}, err: context.DeadlineExceeded},
		} {
			r := lease.NewRound([]int{0, 4}, 2, c.wait)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			c.came(r)
			some, err := r.Await(ctx)
			cancel()
			if some != c.some || r.Done() != c.done || !errors.Is(err, c.err) || c.err == nil && err != nil {
				t.Errorf("%s: %t, done %t, %v", name, some, r.Done(), err)
			}
		}
	})
}
