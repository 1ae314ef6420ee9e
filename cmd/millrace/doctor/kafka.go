package doctor

import (
	"context"
	"errors"
	"math"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/internal/kafkaclient"
)

// KafkaUse is what a configuration wants of Kafka.
type KafkaUse struct {
	kafkaclient.Config
	Topics []TopicUse
	Group  string // the consumer group that offsets are committed to; empty for none
	// TransactionalIDs are those of the producers.
	TransactionalIDs []string
	// CreatePrefix begins the names of topics that are made and written to;
	// Creates says that there are such.
	CreatePrefix string
	Creates      bool
}

// TopicUse is what is done with a topic.
type TopicUse struct {
	Name        string
	Read, Write bool
	Optional    bool // it may be missing
	Created     bool // where it is missing it is made
	Fronts      bool // servers with --views redis send events to it
}

// Kafka checks the brokers, each by the address that is configured and by the
// one that the cluster tells its clients, the topics, and the user's rights.
func Kafka(use KafkaUse) Check {
	return func(ctx context.Context) []Finding {
		k := kafkaCheck{use: use, scribe: scribe{system: "kafka"}}
		answer := k.brokers(ctx)
		if answer == nil {
			return k.list
		}
		k.advertised(ctx, answer)
		for _, t := range use.Topics {
			k.topic(t, answer)
		}
		k.anyTopic(answer)
		if use.Group != "" {
			k.group(ctx)
		}
		for _, id := range use.TransactionalIDs {
			k.transactions(ctx, id)
		}
		if use.Creates {
			k.creates(ctx)
		}
		return k.list
	}
}

type kafkaCheck struct {
	use    KafkaUse
	answer []string // the brokers that did
	scribe
}

// brokers asks every configured one, and returns the first answer.
func (k *kafkaCheck) brokers(ctx context.Context) *kmsg.MetadataResponse {
	var first *kmsg.MetadataResponse
	for _, address := range k.use.Brokers {
		one := k.use.Config
		one.Brokers = []string{address}
		answer, err := k.ask(ctx, &one)
		if err != nil {
			k.say(Failed, address, "%s", about(address, one.Words(err))+k.stranger(ctx, address))
			continue
		}
		k.answer = append(k.answer, address)
		k.say(OK, address, "answers; the cluster has %d brokers", len(answer.Brokers))
		if first == nil {
			first = answer
		}
	}
	if first != nil { // with one that answers a client finds the others
		for i := range k.list {
			if k.list[i].State == Failed {
				k.list[i].State = Warning
			}
		}
	}
	return first
}

// ask asks one broker about the cluster and the topics.
func (k *kafkaCheck) ask(ctx context.Context, one *kafkaclient.Config) (*kmsg.MetadataResponse, error) {
	options, err := one.Options()
	if err != nil {
		return nil, err
	}
	client, err := kgo.NewClient(append(options, kgo.RequestRetries(0), kgo.RetryTimeout(one.RequestTimeout))...)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	request := kmsg.NewPtrMetadataRequest()
	request.Topics = []kmsg.MetadataRequestTopic{}
	request.AllowAutoTopicCreation = false
	request.IncludeTopicAuthorizedOperations = true
	for _, use := range k.use.Topics {
		t := kmsg.NewMetadataRequestTopic()
		t.Topic = &use.Name
		request.Topics = append(request.Topics, t)
	}
	// The seed itself: what it advertises may not be what it is reached by.
	response, err := client.SeedBrokers()[0].Request(ctx, request)
	if err != nil {
		return nil, err
	}
	return response.(*kmsg.MetadataResponse), nil
}

// advertised reaches each broker by the address that it gives to clients.
func (k *kafkaCheck) advertised(ctx context.Context, answer *kmsg.MetadataResponse) {
	for _, b := range answer.Brokers {
		address := net.JoinHostPort(b.Host, strconv.Itoa(int(b.Port)))
		if slices.Contains(k.use.Brokers, address) {
			continue // it was asked
		}
		one := k.use.Config
		one.Brokers = []string{address}
		if _, err := kafkaclient.Probe(ctx, one); err != nil {
			k.say(Failed, address, "the cluster tells clients to find broker %d there (its advertised.listeners), but %s", b.NodeID, about(address, one.Words(err)))
		} else {
			k.say(OK, address, "broker %d answers by the address that it advertises", b.NodeID)
		}
	}
}

func (k *kafkaCheck) topic(use TopicUse, answer *kmsg.MetadataResponse) {
	subject := "topic " + use.Name
	at := slices.IndexFunc(answer.Topics, func(t kmsg.MetadataResponseTopic) bool { return t.Topic != nil && *t.Topic == use.Name })
	if at < 0 {
		k.say(Failed, subject, "the brokers say nothing of it")
		return
	}
	t := answer.Topics[at]
	switch err := kerr.ErrorForCode(t.ErrorCode); {
	case errors.Is(err, kerr.UnknownTopicOrPartition) && use.Created:
		k.say(OK, subject, "is not there, and will be made")
		return
	case errors.Is(err, kerr.UnknownTopicOrPartition) && use.Optional && use.Fronts:
		k.say(Warning, subject, "is not there: servers with --views redis send events to it (redis.events_topic) and refuse them until it is; create it")
		return
	case errors.Is(err, kerr.UnknownTopicOrPartition) && use.Optional:
		k.say(OK, subject, "is not there, and need not be")
		return
	case errors.Is(err, kerr.TopicAuthorizationFailed) && use.Optional:
		// Of a topic that the user may not see it is not said whether it exists.
		k.say(Warning, subject, "is not there, or the user has no right to describe it")
		return
	case err != nil:
		k.say(Failed, subject, "%s", k.use.Words(err))
		return
	}
	if use.Read && lacks(t.AuthorizedOperations, kmsg.ACLOperationRead) {
		k.say(Failed, subject, "the user may not read it: give it the right Read")
		return
	}
	if use.Write && lacks(t.AuthorizedOperations, kmsg.ACLOperationWrite) {
		k.say(Failed, subject, "the user may not write to it: give it the right Write")
		return
	}
	leaderless := 0
	for _, p := range t.Partitions {
		if p.Leader < 0 {
			leaderless++
		}
	}
	switch {
	case leaderless > 0:
		k.say(Failed, subject, "%d of its %d partitions have no leader: brokers are down", leaderless, len(t.Partitions))
	case len(t.Partitions) == 1 && use.Read:
		k.say(Warning, subject, "has one partition: several readers, or Flink's subtasks, can not share it, and more partitions later move users from one to another")
	default:
		k.say(OK, subject, "has %d partitions", len(t.Partitions))
	}
}

// anyTopic says so if none of the topics is there that are read where they are.
func (k *kafkaCheck) anyTopic(answer *kmsg.MetadataResponse) {
	var names []string
	for _, t := range k.use.Topics {
		if t.Read && !t.Optional {
			return
		}
		if t.Read {
			names = append(names, t.Name)
		}
	}
	there := func(t kmsg.MetadataResponseTopic) bool {
		return t.ErrorCode == 0 && t.Topic != nil && slices.Contains(names, *t.Topic)
	}
	if len(names) > 0 && !slices.ContainsFunc(answer.Topics, there) {
		k.say(Warning, "topics", "none of those that are read by default is there: nothing is read until one is; create %s, or name yours in kafka.topics", names[0])
	}
}

// lacks tells whether a right is missing. Brokers that say nothing of rights allow all.
func lacks(rights int32, right kmsg.ACLOperation) bool {
	return rights != math.MinInt32 && rights&(1<<right) == 0
}

// coordinatorPause is the time between two questions for a coordinator.
const coordinatorPause = 100 * time.Millisecond

// coordinated asks a coordinator, again while it is not there: the first group
// or transactional id that a cluster is asked for makes it create a topic, which
// takes a moment. ask returns the error that is in the answer, too.
func (k *kafkaCheck) coordinated(ctx context.Context, ask func(*kgo.Client) error) error {
	one := k.use.Config
	one.Brokers = k.answer
	options, err := one.Options()
	if err != nil {
		return err
	}
	client, err := kgo.NewClient(options...)
	if err != nil {
		return err
	}
	defer client.Close()
	for {
		err := ask(client)
		if !errors.Is(err, kerr.CoordinatorNotAvailable) && !errors.Is(err, kerr.NotCoordinator) && !errors.Is(err, kerr.CoordinatorLoadInProgress) || ctx.Err() != nil {
			return err
		}
		time.Sleep(coordinatorPause)
	}
}

// errNoAnswer: the answer is about something else.
var errNoAnswer = errors.New("the brokers say nothing of it")

// group looks at the consumer group.
func (k *kafkaCheck) group(ctx context.Context) {
	subject := "group " + k.use.Group
	request := kmsg.NewPtrDescribeGroupsRequest()
	request.Groups, request.IncludeAuthorizedOperations = []string{k.use.Group}, true
	var group kmsg.DescribeGroupsResponseGroup
	err := k.coordinated(ctx, func(client *kgo.Client) error {
		response, err := request.RequestWith(ctx, client)
		if err != nil {
			return err
		}
		if len(response.Groups) != 1 {
			return errNoAnswer
		}
		group = response.Groups[0]
		return kerr.ErrorForCode(group.ErrorCode)
	})
	switch {
	case errors.Is(err, kerr.GroupIDNotFound):
		k.say(OK, subject, "is new; whether the user may read it shows when it is first used")
	case err != nil:
		k.say(Failed, subject, "%s", k.use.Words(err))
	case lacks(group.AuthorizedOperations, kmsg.ACLOperationRead):
		k.say(Failed, subject, "the user may not use it: give it the right Read on the group")
	default:
		k.say(OK, subject, "has %d members", len(group.Members))
	}
}

// transactions looks at the transactional id, without taking it over.
func (k *kafkaCheck) transactions(ctx context.Context, id string) {
	subject := "transactional id " + id
	request := kmsg.NewPtrDescribeTransactionsRequest()
	request.TransactionalIDs = []string{id}
	state := ""
	err := k.coordinated(ctx, func(client *kgo.Client) error {
		response, err := request.RequestWith(ctx, client)
		if err != nil {
			return err
		}
		if len(response.TransactionStates) != 1 {
			return errNoAnswer
		}
		state = response.TransactionStates[0].State
		return kerr.ErrorForCode(response.TransactionStates[0].ErrorCode)
	})
	switch {
	case errors.Is(err, kerr.TransactionalIDNotFound):
		k.say(OK, subject, "is new")
	case err != nil:
		k.say(Failed, subject, "%s", k.use.Words(err))
	default:
		k.say(OK, subject, "its latest transaction is %s", state)
	}
}

// stranger says what listens on an address instead of a broker, if it tells.
func (k *kafkaCheck) stranger(ctx context.Context, address string) string {
	ctx, stop := context.WithTimeout(ctx, k.use.DialTimeout)
	defer stop()
	c, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return ""
	}
	defer func() { _ = c.Close() }()
	until, _ := ctx.Deadline()
	if err := c.SetDeadline(until); err != nil {
		return ""
	}
	// A broker takes it for the length of a request that is too large, and hangs up.
	if _, err := c.Write([]byte("PING\r\n\r\n")); err != nil {
		return ""
	}
	answer := make([]byte, 128)
	n, _ := c.Read(answer)
	text := string(answer[:n])
	switch {
	case strings.HasPrefix(text, "HTTP/"):
		return " (a web server answers there)"
	case strings.HasPrefix(text, "+PONG"), strings.HasPrefix(text, "-NOAUTH"):
		return " (a Redis answers there)"
	case strings.Contains(text, "MariaDB"), strings.Contains(text, "mysql_native_password"):
		return " (a MySQL or MariaDB answers there)"
	}
	return ""
}
