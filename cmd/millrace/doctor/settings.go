package doctor

import (
	"slices"

	"millrace/catalog/database"
	"millrace/cmd/millrace/likes"
	"millrace/cmd/millrace/publishing"
	sink "millrace/sink/kafka"
	"millrace/source/kafka"
	"millrace/source/table"
	"millrace/view/redis"
)

// Settings are what the configuration says of the systems that are looked at.
type Settings struct {
	Data   string // the data directory
	Listen string // HOST:PORT
	Store  string // the object store of savepoints; empty for a folder of Data
	Kafka  kafka.Config
	// Publish is which results go to Kafka.
	Publish publishing.Config
	Redis   redis.Config
	// Catalog is the database of the catalogue.
	Catalog database.Config
	// Import are tables that are read into the catalogue.
	Import table.Config
	// Likes is the likes service.
	Likes likes.Config
}

// checks are those of all systems that are named.
func (s *Settings) checks() []Check {
	list := []Check{Directory(s.Data), Listen(s.Listen)}
	if s.Store != "" {
		list = append(list, ObjectStore(s.Store))
	}
	if s.Kafka.Enabled() {
		list = append(list, Kafka(s.kafka()))
	}
	if r := s.Kafka.SchemaRegistry; r.Enabled() {
		list = append(list, Registry(r))
	}
	if d := s.Catalog.Driver; d == database.MySQL || d == database.PostgreSQL {
		list = append(list, SQL("catalog", s.Catalog))
	}
	if s.Import.Enabled() {
		list = append(list, Tables(s.Import))
	}
	if s.Likes.Enabled {
		list = append(list, Likes(s.Likes, s.Catalog))
	}
	if s.Redis.Enabled() {
		list = append(list, Redis(s.Redis))
	}
	if s.Redis.Engine != "" {
		list = append(list, Engine(s.Redis.Engine, s.Redis.EngineKey))
	}
	return list
}

// kafka is what the configuration wants of Kafka.
func (s *Settings) kafka() KafkaUse {
	use := KafkaUse{Config: s.Kafka.Config}
	topics, optional := s.Kafka.Topics, false
	if topics == nil {
		topics, optional = kafka.DefaultTopics(), true
	}
	for _, t := range topics {
		use.Topics = append(use.Topics, TopicUse{Name: t.Name, Read: true, Optional: optional})
	}
	if t := s.Redis.EventsTopic; s.Redis.Enabled() && t != "" {
		at := slices.IndexFunc(use.Topics, func(u TopicUse) bool { return u.Name == t })
		if at < 0 {
			at = len(use.Topics)
			use.Topics = append(use.Topics, TopicUse{Name: t, Optional: true})
		}
		use.Topics[at].Fronts = true
	}
	if t := s.Kafka.DeadLetterTopic; t != "" {
		use.Topics = append(use.Topics, TopicUse{Name: t, Write: true})
	}
	if s.Kafka.Reads() {
		use.Group = s.Kafka.Group
	}
	if s.Publish.Enabled && s.Publish.Delivery == sink.ExactlyOnce {
		use.TransactionalIDs = append(use.TransactionalIDs, s.Publish.Group())
	}
	if s.Publish.Enabled && s.Publish.CreateTopics {
		use.Creates, use.CreatePrefix = true, s.Publish.Prefix
	}
	if s.Likes.Enabled {
		for _, t := range s.Likes.Topics() {
			use.Topics = append(use.Topics, TopicUse{Name: t, Write: true, Created: true})
		}
		if sends := s.Likes.Sink(); len(s.Likes.Topics()) > 0 {
			use.TransactionalIDs = append(use.TransactionalIDs, sends.Group())
		}
	}
	return use
}
