package openmessaging_test

import (
	"errors"
	"testing"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// TestReplyFailure: a failure arrives with its code, and its text once.
func TestReplyFailure(t *testing.T) {
	for _, c := range []struct {
		why  error
		code om.Code
		text string
	}{
		{om.NewError(om.CodeBadParameter, "", "", "no metal %q", "mud"), om.CodeBadParameter, `no metal "mud"`},
		{om.NewError(om.CodeBadParameter, "", "", ""), om.CodeBadParameter, om.NewError(om.CodeBadParameter, "", "", "").Error()},
		{om.NewError(om.CodeTimeout, "query", "db", "slow"), om.CodeTimeout, om.NewError(om.CodeTimeout, "query", "db", "slow").Error()},
		{errors.New("no \xff"), om.CodeOf(errors.New("")), "no \uFFFD"},
	} {
		reply := om.NewMessage("r", []byte("half an answer"))
		om.SetReplyFailure(reply, c.why)
		var e *om.Error
		if err := om.ReplyFailure(reply, "q"); !errors.As(err, &e) || e.Op != "answer" || e.Resource != "q" || e.Err.Error() != c.text || reply.Body != nil {
			t.Errorf("%v arrives as %v", c.why, err)
		} else if c.code != 0 && e.Code != c.code {
			t.Errorf("%v has the code %d", c.why, e.Code)
		}
	}
}
