// Counts the names in a directory.
package main

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
)

type message struct {
	Payload struct {
		InputParameters struct {
			Path string `json:"path"`
		} `json:"input_parameters"`
	} `json:"payload"`
}

type object map[string]any

func answer(document object, code int) {
	if json.NewEncoder(os.Stdout).Encode(document) != nil {
		code = 100
	}
	os.Exit(code)
}

func fail(code int, text string) {
	answer(object{"error": object{"code": code, "message": text}}, code)
}

func main() {
	var in message
	if err := json.NewDecoder(os.Stdin).Decode(&in); err != nil {
		fail(1, "the message cannot be read: "+err.Error())
	}
	names, err := os.ReadDir(in.Payload.InputParameters.Path)
	if err != nil {
		var why *fs.PathError
		if errors.As(err, &why) {
			err = why.Err
		}
		fail(3, "cannot read the directory: "+err.Error())
	}
	answer(object{"payload": object{"result": "success", "output_data": object{"entries": len(names)}}}, 0)
}
