// Package protoschema compiles Protobuf schemas as they are written: .proto
// files, and texts of a schema registry.
package protoschema

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/bufbuild/protocompile"
	"github.com/bufbuild/protocompile/linker"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// File is a message of a .proto file, by its full name. The file finds what it
// imports in the folders, which are its own if there are none.
func File(path string, imports []string, name string) (protoreflect.MessageDescriptor, error) {
	file, folders := path, imports
	if len(folders) == 0 {
		file, folders = filepath.Base(path), []string{filepath.Dir(path)}
	}
	for _, folder := range imports { // a file is known by its path in one of them
		if inside, err := filepath.Rel(folder, path); err == nil && filepath.IsLocal(inside) {
			file = inside
			break
		}
	}
	linked, err := compile(&protocompile.SourceResolver{ImportPaths: folders}, file)
	if err != nil {
		return nil, fmt.Errorf("schema_file: %w", err)
	}
	message, ok := linked.FindDescriptorByName(protoreflect.FullName(name)).(protoreflect.MessageDescriptor)
	if !ok {
		return nil, fmt.Errorf("message: want one of %s, with its package, got %q", strings.Join(messageNames(linked.Messages()), ", "), name)
	}
	return message, nil
}

// textName is the name that a text is compiled under.
const textName = "millrace-schema.proto"

// Text are the messages of a text, given those that it imports by their names.
func Text(text string, imports map[string]string) (protoreflect.MessageDescriptors, error) {
	accessor := protocompile.SourceAccessorFromMap(imports)
	own := protocompile.SourceAccessorFromMap(map[string]string{textName: text})
	linked, err := compile(protocompile.CompositeResolver{
		&protocompile.SourceResolver{Accessor: own}, &protocompile.SourceResolver{Accessor: accessor},
	}, textName)
	if err != nil {
		return nil, err
	}
	return linked.Messages(), nil
}

// At is the message at a place: its index among those of the file, and so on
// inside it; nil if there is none.
func At(list protoreflect.MessageDescriptors, indexes []int) protoreflect.MessageDescriptor {
	var message protoreflect.MessageDescriptor
	for _, at := range indexes {
		if at < 0 || at >= list.Len() {
			return nil
		}
		message = list.Get(at)
		list = message.Messages()
	}
	return message
}

// Indexes are the place of a message, as At takes it.
func Indexes(message protoreflect.MessageDescriptor) []int {
	indexes := []int{message.Index()}
	for {
		outer, ok := message.Parent().(protoreflect.MessageDescriptor)
		if !ok {
			slices.Reverse(indexes)
			return indexes
		}
		indexes, message = append(indexes, outer.Index()), outer
	}
}

// maxNames bounds the names that an error lists.
const maxNames = 20

// messageNames are the full names of messages, with those inside them.
func messageNames(list protoreflect.MessageDescriptors) []string {
	var names []string
	for i := range list.Len() {
		if m := list.Get(i); !m.IsMapEntry() {
			names = append(append(names, string(m.FullName())), messageNames(m.Messages())...)
		}
	}
	return names[:min(len(names), maxNames)]
}

// builtIn are the files that the registry's serializers import and do not
// register.
var builtIn = map[string]string{
	"confluent/meta.proto": `syntax = "proto3"; package confluent; import "google/protobuf/descriptor.proto";
message Meta { string doc = 1; map<string, string> params = 2; repeated string tags = 3; }
extend google.protobuf.FileOptions { Meta file_meta = 1088; }
extend google.protobuf.MessageOptions { Meta message_meta = 1088; }
extend google.protobuf.FieldOptions { Meta field_meta = 1088; }
extend google.protobuf.EnumOptions { Meta enum_meta = 1088; }
extend google.protobuf.EnumValueOptions { Meta enum_value_meta = 1088; }`,
	"confluent/type/decimal.proto": `syntax = "proto3"; package confluent.type;
message Decimal { bytes value = 1; uint32 precision = 2; int32 scale = 3; }`,
}

func compile(from protocompile.Resolver, file string) (linker.File, error) {
	own := &protocompile.SourceResolver{Accessor: protocompile.SourceAccessorFromMap(builtIn)}
	c := protocompile.Compiler{Resolver: protocompile.WithStandardImports(protocompile.CompositeResolver{from, own}), MaxParallelism: 1}
	files, err := c.Compile(context.Background(), file)
	if err != nil {
		return nil, err
	}
	if len(files) != 1 {
		return nil, errors.New("no file")
	}
	return files[0], nil
}
