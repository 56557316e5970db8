package openmessaging

import "strings"

// Properties of requests and their replies. They are properties because the
// specification's headers have no field for them, and so pass through every
// driver, route and filter.
const (
	// PropertyReplyTo is a String that makes a message a request: the long name
	// of the queue that gets the reply. [Producer.Request] sets it.
	PropertyReplyTo = "$replyTo"
	// PropertyReplyError is a String that makes a reply a failure: why the
	// request was not answered. See [SetReplyFailure].
	PropertyReplyError = "$replyError"
	// PropertyReplyCode is the Integer beside it: the status code.
	PropertyReplyCode = "$replyCode"
)

// ReplyQueuePrefix begins the names of the queues that producers make for the
// replies to their requests, in the default namespace. What follows is at least
// [ReplyTokenLength] signs that nobody can guess. Such a queue has one partition
// and [QueueConfig].Expires, and belongs to the user who made it.
const ReplyQueuePrefix = "$reply/"

// ReplyTokenLength is the least length of a reply queue's name behind the prefix.
const ReplyTokenLength = 26

// IsReplyQueue reports whether a queue's name, long or short, is that of a reply
// queue.
func IsReplyQueue(name string) bool {
	_, name = SplitQueueName(name, DefaultNamespace)
	return strings.HasPrefix(name, ReplyQueuePrefix)
}

// NewReply returns the reply to a request, for [Sender].Send or, as one with the
// acknowledgement of the request, Producer.SendTransacted: a message for the
// queue that the request names, with its correlation id and trace id. The body is
// not copied. A message that is no request gives 1418.
func NewReply(request *Message, body []byte) (*Message, error) {
	to, _ := request.Properties[PropertyReplyTo].Text()
	if to == "" || request.Ext.CorrelationID == "" {
		return nil, NewError(CodeBadParameter, "reply", request.Destination,
			"the message is no request: it has no correlation id or no property %s; send it by Producer.Request", PropertyReplyTo)
	}
	m := NewMessage(to, body)
	m.Ext.CorrelationID, m.Ext.TraceID = request.Ext.CorrelationID, request.Ext.TraceID
	return m, nil
}

// SetReplyFailure makes a reply say that the request cannot be answered: Request
// gives an error with the text of why and its code, as by [CodeOf]. The body is
// dropped. The text leaves this process: it should tell no secrets. Of an *[Error]
// that names no operation it is the explanation alone.
func SetReplyFailure(reply *Message, why error) {
	text := why.Error()
	if e, ok := why.(*Error); ok && e.Op == "" && e.Err != nil {
		text = e.Err.Error()
	}
	if reply.Body = nil; reply.Properties == nil {
		reply.Properties = Properties{}
	}
	reply.Properties[PropertyReplyError] = String(strings.ToValidUTF8(text, "\uFFFD"))
	reply.Properties[PropertyReplyCode] = Integer(int32(CodeOf(why)))
}

// ReplyFailure returns what [SetReplyFailure] put into a reply: an *[Error] of the
// operation "answer" about a queue; nil for any other message. A code that this
// version does not know becomes 1500.
func ReplyFailure(reply *Message, queue string) error {
	text, ok := reply.Properties[PropertyReplyError].Text()
	if !ok {
		return nil
	}
	n, _ := reply.Properties[PropertyReplyCode].Int64()
	code := Code(n)
	if _, known := codes[code]; !known {
		code = CodeServerError
	}
	return NewError(code, "answer", queue, "%s", text)
}
