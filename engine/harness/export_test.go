package harness

// RunScriptWith is for tests of scripts that fail.
var RunScriptWith = runScript
