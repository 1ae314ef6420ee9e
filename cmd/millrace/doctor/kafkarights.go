package doctor

import (
	"context"
	"fmt"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// creates looks at the topics that results are published to: their names come
// of the results, so what is there with their prefix is asked for the right to
// write, and the cluster for the right to make more.
func (k *kafkaCheck) creates(ctx context.Context) {
	subject := fmt.Sprintf("topics %s*", k.use.CreatePrefix)
	var all *kmsg.MetadataResponse
	var cluster *kmsg.DescribeClusterResponse
	err := k.coordinated(ctx, func(client *kgo.Client) (err error) {
		topics := kmsg.NewPtrMetadataRequest()
		topics.Topics, topics.AllowAutoTopicCreation, topics.IncludeTopicAuthorizedOperations = nil, false, true // nil is all
		if all, err = topics.RequestWith(ctx, client); err != nil {
			return err
		}
		rights := kmsg.NewPtrDescribeClusterRequest()
		rights.IncludeClusterAuthorizedOperations = true
		cluster, err = rights.RequestWith(ctx, client)
		return err
	})
	if err != nil {
		k.say(Failed, subject, "%s", k.use.Words(err))
		return
	}
	there := 0
	for _, t := range all.Topics {
		if t.Topic == nil || t.IsInternal || t.ErrorCode != 0 || !strings.HasPrefix(*t.Topic, k.use.CreatePrefix) || strings.HasPrefix(*t.Topic, "__") {
			continue
		}
		there++
		if lacks(t.AuthorizedOperations, kmsg.ACLOperationWrite) {
			// Without a prefix it may be another's.
			k.say(Warning, "topic "+*t.Topic, "the user may not write to it: give it the right Write, if results are published there")
		}
	}
	if lacks(cluster.ClusterAuthorizedOperations, kmsg.ACLOperationCreate) {
		k.say(Warning, subject, "%d are there, and the user may not make topics: give it the right Create on the cluster or on topics with that prefix, "+
			"or make them and set publish.create_topics to false", there)
		return
	}
	k.say(OK, subject, "%d are there, and the user may make more", there)
}
