package flink

import "encoding/json"

// Version is that of the protocol and of plans.
const Version = 1

// Plan describes a job to the side of Flink, which makes its graph of it.
type Plan struct {
	Protocol int    `json:"protocol"`
	Job      string `json:"job"`
	// Program is what Build is given.
	Program []byte              `json:"program"`
	Kafka   *PlanKafka          `json:"kafka"`
	Chains  []PlanChain         `json:"chains"`
	Edges   []PlanEdge          `json:"edges"`
	Sinks   map[string]PlanSink `json:"sinks"`
	Views   bool                `json:"views"`
}

// PlanKafka is a source in Kafka; a plan without one has a source of Flink's.
type PlanKafka struct {
	Properties map[string]string `json:"properties"`
	Topics     []string          `json:"topics"`
	Start      string            `json:"start"`
	Group      string            `json:"group"`
}

// PlanChain is a chain of stages.
type PlanChain struct {
	Name   string      `json:"name"`
	Stages []PlanStage `json:"stages"`
	Inputs []PlanInput `json:"inputs"`
	// Parallelism is over how many subtasks the chain is spread, 0 if the job says.
	Parallelism int `json:"parallelism,omitempty"`
}

// PlanStage is an operator of Flink's.
type PlanStage struct {
	Name string `json:"name"`
	UID  string `json:"uid"`
}

// PlanInput is an edge that a chain reads.
type PlanInput struct {
	Edge int `json:"edge"`
}

// PlanEdge is a way of records. To is a chain, "result", "topic:NAME" or "topics".
type PlanEdge struct {
	ID   int    `json:"id"`
	From string `json:"from"`
	To   string `json:"to"`
	// Key is where the key is in a record that Flink's own source makes.
	Key *PlanKey `json:"key,omitempty"`
}

// PlanKey is a part of a record's bytes.
type PlanKey struct {
	Offset int `json:"offset"`
	Length int `json:"length"`
}

// PlanSink is how records leave for a topic.
type PlanSink struct {
	Properties map[string]string `json:"properties"`
	// Topics are all that records can name; nil if that is not known.
	Topics []string `json:"topics,omitempty"`
}

// NewPlan describes a program. What is not the topology's, the caller adds.
func NewPlan(job string, p *Program, program []byte) (*Plan, error) {
	l, err := newLayout(p)
	if err != nil {
		return nil, err
	}
	plan := &Plan{Protocol: Version, Job: job, Program: program, Sinks: map[string]PlanSink{}, Views: p.Views != nil}
	for c, stages := range l.chains {
		chain := PlanChain{Name: l.name(c), Parallelism: l.nodes[stages[0]].Parallelism}
		for _, i := range stages {
			chain.Stages = append(chain.Stages, PlanStage{l.nodes[i].Name, "millrace-" + l.nodes[i].Name})
		}
		for id, e := range l.edges {
			if e.to == stages[0] {
				chain.Inputs = append(chain.Inputs, PlanInput{id})
			}
		}
		plan.Chains = append(plan.Chains, chain)
	}
	for id, e := range l.edges {
		to := e.sink
		if to == "" {
			to = l.nodes[e.to].Name
		}
		edge := PlanEdge{ID: id, From: l.name(e.from), To: to}
		if e.from == fromSource && e.to != nowhere {
			edge.Key = p.Key
		}
		plan.Edges = append(plan.Edges, edge)
	}
	return plan, nil
}

// name is a chain's.
func (l *layout) name(chain int) string {
	if chain == fromSource {
		return SourceChain
	}
	return l.nodes[l.chains[chain][0]].Name
}

// String is the plan as one line of JSON.
func (p *Plan) String() string {
	b, err := json.Marshal(p)
	if err != nil {
		return err.Error() // there is nothing in it that has no JSON
	}
	return string(b)
}
